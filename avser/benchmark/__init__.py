"""What a model is worth, what each modality contributes, and how both wear down; as a report."""
