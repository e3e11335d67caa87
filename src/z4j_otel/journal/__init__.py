"""The hand-off file between the processes that capture and the agent."""
