"""What a user writes: the sections of the YAML, reading it with lines, sweeps, designs, index sets, user files."""
