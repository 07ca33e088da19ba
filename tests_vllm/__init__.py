"""Facts in vLLM; `make test-vllm` runs these in an environment of their own."""
