# A study of several blocks: its sampling and its estimates in jobs of their own.


rule lay_out:
    input:
        f"{PARAMS}/{{study}}.yaml",
    output:
        f"{STUDY}/blocks/laid_out.json",
    log:
        f"{STUDY}/blocks/laid_out.log",
    conda:
        ENVIRONMENT
    message:
        "{wildcards.study}: lay out the store"
    shell:
        part("sample", "{wildcards.study:q}", "--lay-out")


rule sample_block:
    input:
        f"{STUDY}/blocks/laid_out.json",
    output:
        f"{STUDY}/blocks/{{part}}.json",
    log:
        f"{STUDY}/blocks/{{part}}.log",
    conda:
        ENVIRONMENT
    message:
        "{wildcards.study}: sample block {wildcards.part}"
    shell:
        part("sample", "{wildcards.study:q}", "--block {wildcards.part}")


rule estimate_checkpoint:
    input:
        f"{STUDY}/manifest.json",
    output:
        # Kept where nothing but a time stamp is new: what it depends on stands in it.
        update(f"{STUDY}/mi/{{part}}.json"),
    log:
        f"{STUDY}/mi/{{part}}.log",
    conda:
        ENVIRONMENT
    message:
        "{wildcards.study}: estimate iteration {wildcards.part}"
    shell:
        part("estimate", "{wildcards.study:q}", "--checkpoint {wildcards.part}")
