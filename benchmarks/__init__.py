"""Speed and memory, ours and a peer's side by side in one run; `make bench` reruns everything."""
