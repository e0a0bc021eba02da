"""A Flask application that knows nothing of peep, and three of its users. Run under opentelemetry-instrument."""

from flask import Flask

app = Flask(__name__)


@app.get("/users/<int:user>")
def user(user):
    return {"user": user}


@app.get("/boom")
def boom():
    raise RuntimeError("boom")


users = app.test_client()
for path in ["/users/1", "/users/2", "/users/3", "/boom", "/nowhere"]:
    users.get(path)
