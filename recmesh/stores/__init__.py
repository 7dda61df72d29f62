"""Access to the stores: users, histories and items in Redis, item vectors in Milvus.

A module for each store and use: `redis` and `milvus` are asynchronous and for the services, `RedisWriter` and
`milvus_writer` are synchronous and for the jobs. `wire` converts between data set rows and stored messages.
"""
