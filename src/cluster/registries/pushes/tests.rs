//! What is known, from whatever comes in whatever order, and what is read of objects. What the API server does is tested with one.
