"""TensorBoard's address for comparing runs. Imports nothing heavy."""


def comparison_address() -> str:
    """TensorBoard's address that shows losses and slopes of all runs, one colour per technique."""
    return (
        "http://localhost:6006/?tagFilter=loss%7Cadjoint&smoothing=0"
        "&runColorGroup=regex:%2F(%5B%5E%2F%5D%2B)-%5B0-9a-f%5D%7B8%7D#timeseries"
    )
