"""The cross-task benchmark: suites of operators × noise × methods × pictures, their runner, and its report."""
