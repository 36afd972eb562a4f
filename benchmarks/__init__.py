"""Speed, memory and accuracy, measured side by side; never part of the tests."""
