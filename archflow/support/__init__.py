"""What has nothing to do with architectures: files, devices, processes, progress, registries."""
