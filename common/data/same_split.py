"""One name for a split that a data set's card has by several."""

from common.data.split import Split


def split_key(split: Split) -> str:
    """`cityscapes/val` for Cityscapes' val, val_fine and val_coarse alike: the card's first name of the pictures."""
    pictures = {name: tuple(part.images for part in parts) for name, parts in split.card.folders.items()}
    same = [name for name, images in pictures.items() if images == pictures.get(split.name)]
    return f"{split.card.name}/{same[0] if same else split.name}"
