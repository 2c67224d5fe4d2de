"""One OpenTelemetry trace for each case: spans from what is on the topics, and live in workers."""
