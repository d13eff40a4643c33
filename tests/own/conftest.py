"""The runs of these tests draw no pictures, unless a test asks for them."""

from tests.pictures import no_pictures, pictures  # noqa: F401  (fixtures)
