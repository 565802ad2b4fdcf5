"""The known data sets by name."""

from common.data.sets.ade20k import ADE20K
from common.data.sets.cityscapes import CITYSCAPES
from common.data.sets.coco import COCO
from common.data.sets.voc import VOC2012

CARDS = {card.name: card for card in (VOC2012, CITYSCAPES, COCO, ADE20K)}
