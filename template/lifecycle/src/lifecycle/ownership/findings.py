"""What a check found: the place, what is wrong there, and how to fix it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A defect. One that is not `refused` is only told, everywhere but before production."""

    where: str
    problem: str
    hint: str
    refused: bool = True

    def __str__(self) -> str:
        """As it is printed, with the hint below."""
        return f"{'error' if self.refused else 'warning'}: {self.where}: {self.problem}\n  {self.hint}"
