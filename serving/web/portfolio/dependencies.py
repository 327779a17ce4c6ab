"""What pages ask of the portfolio, by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from serving.api.dependencies import part
from serving.web.portfolio.listing import Portfolio

PortfolioDep = Annotated[Portfolio, Depends(part(Portfolio))]
