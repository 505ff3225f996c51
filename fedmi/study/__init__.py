"""The study of the paper, built on the library: params files, tables, figures and pages."""
