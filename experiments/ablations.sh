#!/bin/sh
# Runs experiments/ablations.toml and its variants in two processes, and publishes each under results/ablations:
# `sh experiments/ablations.sh`, or with the names of some variants. What is finished is not made again.
#
# Sources are the first of each task type in the order of the file (the first two for 10; the first of all for 1).
set -e
wanted="${*:-base sources-1 sources-5 sources-10 length-16 depth-input rank-1 teachers}"

variant() { # NAME SETTINGS...
    name=$1 && shift
    case " $wanted " in *" $name "*) ;; *) return 0 ;; esac
    folder=runs/ablations/$name
    mpdd run experiments/ablations.toml --out "$folder" --processes 2 "$@"
    python -m scripts.publish_results "$folder"
}

variant base
variant sources-1 --set 'methods=["mpdd"]' --set 'sources=["bc5cdr_ner"]'
variant sources-5 --set 'methods=["mpdd"]' --set 'sources=["bc5cdr_ner", "bc5cdr_cid", "mmlu_medical", "evidence_inference", "cochrane_auto"]'
variant sources-10 --set 'methods=["mpdd"]' --set 'sources=["bc5cdr_ner", "biored_ner", "bc5cdr_cid", "biored_re", "mmlu_medical", "medqa", "evidence_inference", "scifact", "cochrane_auto", "indiana_radiology"]'
variant length-16 --set 'methods=["mpdd"]' --set prompt.length=16
# Prompts at the input alone want lower rates: those that experiments/tuning.toml found for them.
variant depth-input --set 'methods=["mpdd"]' --set prompt.depth=input --set distil.lr_shared=0.03 --set distil.lr_factors=0.03 --set 'adapt.mpdd=[0.01, 0.03, 0.1]'
variant rank-1 --set 'methods=["mpdd"]' --set prompt.rank=1
variant teachers --set 'methods=["mpdd", "spot"]' --set distil.kl=0.9 --set distil.hidden=0.9
