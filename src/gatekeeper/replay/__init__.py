"""How does a file of LLM calls become traffic? Read, put on a timeline, sent by the client library, and summed up."""
