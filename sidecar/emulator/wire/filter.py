"""OData filter expressions: from text to a tree. What the names in it mean is the business of `filter_rules.py`.

The part of the grammar that Graph's calendar takes: comparisons, `and`, `or`, `not`, `in`, calls, paths, `any` and `all`.
Keywords are read in any case, as Graph's own pages write `Any`.

Source: OASIS "OData Version 4.01, Part 2: URL Conventions", 5.1.1; Graph "Use the $filter query parameter" page. Refusals are
worded as those of Microsoft's OData library.
"""

import re
from dataclasses import dataclass
from datetime import UTC

from sidecar.emulator.errors import GraphError, NotEmulated
from sidecar.emulator.wire.filter_tree import (
    COMPARISONS,
    Comparison,
    Expression,
    FunctionCall,
    Junction,
    Lambda,
    Literal,
    LiteralKind,
    Membership,
    Negation,
    Path,
)
from sidecar.emulator.zones import parse_local

_DEPTH_MAX = 50  # deeper nesting is refused, as OData's own readers do
_TOKENS_MAX = 2000  # each is asked of each item; a longer text than any URL can carry comes in a batch
_ARITHMETIC = ("add", "sub", "mul", "div", "divby", "mod", "has")
_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    | (?P<string>'(?:[^']|'')*')
    | (?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+\- ]\d\d:\d\d)?)
    | (?P<date>\d{4}-\d\d-\d\d)(?![\w-])
    | (?P<number>-?\d+(?:\.\d+)?)(?![\w-])
    | (?P<word>[A-Za-z_$][\w.]*)
    | (?P<sign>[(),:/])""",
    re.VERBOSE | re.IGNORECASE,
)


def parse_filter(text: str) -> Expression:
    """Read a filter.

    Raises:
        GraphError: 400 for what is no filter, 501 for operators the emulator does not play.
    """
    return _Parser(text).parse()


def refuse_filter(reason: str) -> GraphError:
    """Build the refusal for a filter that can be read and makes no sense."""
    return GraphError(400, "BadRequest", f"Invalid filter clause: {reason}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def keyword(self) -> str:
        return self.text.lower() if self.kind == "word" else ""


class _Parser:
    """Recursive descent, one method per level of precedence: or, and, comparison, not, primary."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._read_tokens()
        self._next = 0
        self._depth = 0

    def parse(self) -> Expression:
        found = self._either()
        if self._peek().kind != "end":
            raise self._syntax_error(self._peek())
        return found

    def _read_tokens(self) -> list[_Token]:
        tokens, at = list[_Token](), 0
        while at < len(self._text):
            if len(tokens) >= _TOKENS_MAX:
                raise refuse_filter(f"The limit of {_TOKENS_MAX} parts has been exceeded.")
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                raise self._syntax_error(_Token(kind="odd", text=self._text[at], at=at))
            if match.lastgroup != "blank":
                tokens.append(_Token(kind=match.lastgroup, text=match[0], at=at))
            at = match.end()
        return [*tokens, _Token(kind="end", text="", at=len(self._text))]

    def _peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def _take(self, sign: str | None = None) -> _Token:
        token = self._peek()
        if sign is not None and token.text != sign:
            raise self._syntax_error(token)
        self._next += 1
        return token

    def _took(self, sign: str) -> bool:
        if self._peek().kind == "sign" and self._peek().text == sign:
            self._next += 1
            return True
        return False

    def _either(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise refuse_filter("The recursion limit has been exceeded.")
        found = [self._both()]
        while self._peek().keyword == "or":
            self._take()
            found.append(self._both())
        self._depth -= 1
        return found[0] if len(found) == 1 else Junction(is_and=False, operands=tuple(found))

    def _both(self) -> Expression:
        found = [self._comparison()]
        while self._peek().keyword == "and":
            self._take()
            found.append(self._comparison())
        return found[0] if len(found) == 1 else Junction(is_and=True, operands=tuple(found))

    def _comparison(self) -> Expression:
        left = self._unary()
        keyword = self._peek().keyword
        if keyword in _ARITHMETIC:
            raise NotEmulated(f"the filter operator {keyword!r}")
        if keyword == "in":
            self._take()
            return Membership(left=left, options=self._list())
        if keyword in COMPARISONS:
            self._take()
            return Comparison(operator=keyword, left=left, right=self._unary())
        return left

    def _list(self) -> tuple[Expression, ...]:
        self._take("(")
        found = [self._unary()]
        while self._took(","):
            found.append(self._unary())
        self._take(")")
        return tuple(found)

    def _unary(self) -> Expression:
        count = 0
        while self._peek().keyword == "not":
            self._take()
            count += 1
        found = self._primary()
        return Negation(operand=found) if count % 2 else found

    def _primary(self) -> Expression:
        token = self._take()
        if token.kind == "sign" and token.text == "(":
            found = self._either()
            self._take(")")
            return found
        if token.kind == "word":
            return self._named(token)
        if token.kind in ("string", "instant", "date", "number"):
            return self._constant(token)
        raise self._syntax_error(token)

    def _named(self, token: _Token) -> Expression:
        if token.keyword in ("true", "false"):
            return Literal(kind=LiteralKind.BOOLEAN, value=token.keyword == "true")
        if token.keyword == "null":
            return Literal(kind=LiteralKind.NULL, value=None)
        following = self._peek()
        if following.kind == "string" and following.at == token.at + len(token.text):  # importance'high'
            self._take()
            return Literal(kind=LiteralKind.ENUM, value=_unquoted(following.text))
        if following.text == "(":
            self._take()
            return self._call(token)
        return self._path(token)

    def _call(self, token: _Token) -> Expression:
        arguments = list[Expression]()
        if not self._took(")"):
            arguments.append(self._either())
            while self._took(","):
                arguments.append(self._either())
            self._take(")")
        return FunctionCall(name=token.text.lower(), arguments=tuple(arguments))

    def _path(self, token: _Token) -> Expression:
        names = [token.text]
        while self._took("/"):
            part = self._take()
            if part.kind != "word":
                raise self._syntax_error(part)
            if part.keyword in ("any", "all") and self._peek().text == "(":
                return self._lambda(Path(names=tuple(names)), is_any=part.keyword == "any")
            names.append(part.text)
        return Path(names=tuple(names))

    def _lambda(self, collection: Path, *, is_any: bool) -> Expression:
        self._take("(")
        if is_any and self._took(")"):
            return Lambda(collection=collection, is_any=True, variable="", body=None)
        variable = self._take()
        if variable.kind != "word":
            raise self._syntax_error(variable)
        self._take(":")
        body = self._either()
        self._take(")")
        return Lambda(collection=collection, is_any=is_any, variable=variable.text, body=body)

    def _constant(self, token: _Token) -> Literal:
        if token.kind == "string":
            return Literal(kind=LiteralKind.STRING, value=_unquoted(token.text))
        if token.kind == "number":
            return Literal(kind=LiteralKind.NUMBER, value=float(token.text))
        try:
            at = parse_local(token.text.replace(" ", "+"))  # an offset's plus arrives as a blank
        except ValueError:
            raise self._syntax_error(token) from None
        kind = LiteralKind.DATE if token.kind == "date" else LiteralKind.INSTANT
        return Literal(kind=kind, value=at if at.tzinfo else at.replace(tzinfo=UTC))

    def _syntax_error(self, token: _Token) -> GraphError:
        return refuse_filter(f"Syntax error at position {token.at} in '{self._text}'.")


def _unquoted(text: str) -> str:
    return text[1:-1].replace("''", "'")
