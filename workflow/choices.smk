# A multiverse of choices: its groups of points, and its points, in jobs of their own.


# A group is sampled on one core, as jobs run side by side.
rule sample_points:
    input:
        f"{PARAMS}/choices/{{name}}.yaml",
    output:
        f"{RESULTS}/choices/{{name}}/groups/{{group}}.json",
    log:
        f"{RESULTS}/choices/{{name}}/groups/{{group}}.log",
    conda:
        ENVIRONMENT
    message:
        "choices/{wildcards.name}: sample {wildcards.group}"
    shell:
        "env JAX_NUM_CPU_DEVICES=1 "
        + part("choices", "choices/{wildcards.name:q}", "--group {wildcards.group:q}")


rule measure_point:
    input:
        group_of,
    output:
        # Kept where nothing but a time stamp is new: what it depends on stands in it.
        update(f"{RESULTS}/choices/{{name}}/points/{{point}}.json"),
    log:
        f"{RESULTS}/choices/{{name}}/points/{{point}}.log",
    conda:
        ENVIRONMENT
    message:
        "choices/{wildcards.name}: measure {wildcards.point}"
    shell:
        "env JAX_NUM_CPU_DEVICES=1 OPENBLAS_NUM_THREADS=1 "
        + part("choices", "choices/{wildcards.name:q}", "--point {wildcards.point:q}")
