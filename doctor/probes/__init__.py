"""Narrow readers of the machine: files and NVML, nothing of the target is ever started."""
