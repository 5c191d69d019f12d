from .circuit_breaker import CircuitBreaker as CircuitBreaker
from .pipeline import Pipeline as Pipeline
from .watched_root import WatchedRoot as WatchedRoot
