"""The known data sets by name."""

from common.data.sets.ade20k import ADE20K
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.coco import COCO
from common.data.sets.cocostuff import COCOSTUFF_10K, COCOSTUFF_164K
from common.data.sets.pascal_context import PASCAL_CONTEXT
from common.data.sets.pascal_person_part import PASCAL_PERSON_PART
from common.data.sets.voc import VOC2012

CARDS = {
    card.name: card
    for card in (
        VOC2012,
        CITYSCAPES,
        COCO,
        ADE20K,
        PASCAL_CONTEXT,
        PASCAL_PERSON_PART,
        COCOSTUFF_10K,
        COCOSTUFF_164K,
    )
}
