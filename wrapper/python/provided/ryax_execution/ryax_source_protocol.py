"""The protocol of sources, for imports and annotations; the runtime passes the real object."""

import enum
from typing import Any, Dict, List, Optional


class RyaxRunStatus(enum.Enum):
    DONE = "Done"
    ERROR = "Error"


class RyaxSourceProtocol:
    async def create_run(self, data: Dict[str, Any], running_time: float = 0.0, status: RyaxRunStatus = RyaxRunStatus.DONE) -> Any:
        raise NotImplementedError

    async def create_run_error(self) -> Any:
        raise NotImplementedError

    def get_output_definitions(self) -> Optional[List[Dict[str, Any]]]:
        raise NotImplementedError
