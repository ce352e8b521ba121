"""Training: matching, losses, optimizer and the Lightning module (He et al., ICCV 2023, sections 3.4-4.1)."""
