"""Picture files whose head claims more pixels than the file can hold, or than the memory."""

from common.errors import UserError

# No format packs more: zlib takes 1032 bytes into one, each of up to eight pixels.
PIXELS_PER_BYTE, PIXELS_OF_ANY_FILE = 8 * 1032, 2**24


def check_size(size: tuple[int, int], there: int) -> None:
    """Raise UserError for a head that claims far more pixels than the file can hold; decoding would fill the memory.

    Args:
      size: width and height.
      there: bytes of the file, which the message does not name.
    """
    width, height = size
    if width * height > max(PIXELS_PER_BYTE * there, PIXELS_OF_ANY_FILE):
        raise UserError(f"cannot be a picture of {width}x{height} in {there:,} bytes; replace it or leave it out")
