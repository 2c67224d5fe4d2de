"""What is known of cases, letters and questions, in one SQLite file that is fed from Kafka.

One process writes it (`caseworks projection`); the API and the console read it through
`read.ReadModel`. It holds nothing that Kafka does not: it may be deleted at any time.
"""
