"""Reports -> frozen view models: what each template needs, in its words."""
