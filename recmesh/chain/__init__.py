"""The chain of `as`, from a user to recommendations. `chain` reads from top to bottom in the order of a request.

It lives here rather than in services/as because `as` is a Python keyword: `import services.as` is a syntax error.
"""
