"""Arithmetic for checking answers, written apart from the code that made them."""

import ast
import math
import operator
import re
from collections.abc import Callable
from decimal import Decimal

OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
FUNCTIONS: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "ln": math.log,
    "log10": math.log10,
}


def calculate(expr: str) -> float:
    """The value of an arithmetic expression, without Python's eval; ^ is a power."""

    def value(node: ast.expr) -> float:
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
                return FUNCTIONS[name](value(argument))
            case ast.Constant(value=int(number) | float(number)):
                return number
        raise ValueError(f"{ast.unparse(node)!r} is not arithmetic, in {expr!r}")

    return value(ast.parse(expr.replace("^", "**"), mode="eval").body)


def leading_number(choice: str) -> Decimal | None:
    """The number a choice starts with, as written: "1.8e-9 mol/L" is Decimal("1.8E-9")."""
    found = re.match(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?(?= |$)", choice)
    return Decimal(found[0]) if found else None


def agrees(shown: Decimal, exact: float) -> bool:
    """True when `shown` is `exact` rounded to the digits shown."""
    exponent = shown.as_tuple().exponent
    assert isinstance(exponent, int)
    return abs(float(shown) - exact) <= 0.5 * 10.0**exponent * (1 + 1e-9)
