"""What an estimate is worth: laws of known information, calibration, subsampling, consistency."""
