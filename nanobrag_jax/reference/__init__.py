"""What only c-parity needs: the reference program's random numbers, noise and slips."""
