"""A store's model with its facts as a folder that transformers opens, without revisor."""

from revisor.models.folder import Exported
from revisor.operations.hf_export.export import carries_gate, export_model, purge_folder

__all__ = ["Exported", "carries_gate", "export_model", "purge_folder"]
