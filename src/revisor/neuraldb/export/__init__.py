"""A bank as a folder that transformers opens with its model, without revisor."""
