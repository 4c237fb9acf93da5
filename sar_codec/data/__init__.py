"""Radar images in: scenes, patches and loaders."""
