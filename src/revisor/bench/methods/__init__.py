"""What revisor is measured against: the published methods, re-implemented from their equations."""
