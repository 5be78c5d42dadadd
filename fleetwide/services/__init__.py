"""Services, the pure part: which copies to start and to stop, deploys, judgement, scaling."""
