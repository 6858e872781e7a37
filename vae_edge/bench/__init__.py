"""What a bundle costs on this device, and what it still decides there: time, memory, bytes, agreement."""
