"""Rows by many numbers at once, in the words of both databases."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, any_, bindparam
from sqlmodel import Session


def among(session: Session, column: Any, numbers: Sequence[int]) -> ColumnElement[bool]:
    """That a column of numbers has one of these.

    PostgreSQL gets one array: its driver reads a statement anew for each parameter of a list.
    """
    if session.get_bind().dialect.name != "postgresql":
        found: ColumnElement[bool] = column.in_(numbers)
        return found
    array = bindparam(None, list(numbers), type_=ARRAY(BigInteger), unique=True)
    equal: ColumnElement[bool] = column == any_(array)
    return equal
