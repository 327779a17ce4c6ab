"""What routes ask of the events that come in, by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from serving.api.dependencies import part
from serving.events.intake import Intake

IntakeDep = Annotated[Intake, Depends(part(Intake))]
