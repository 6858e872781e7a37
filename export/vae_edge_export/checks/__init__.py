"""What an artefact must pass before it ships: parity, scores, decisions, traps."""
