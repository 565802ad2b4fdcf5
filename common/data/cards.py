"""The known data sets by name."""

from common.data.ade20k import ADE20K
from common.data.cityscapes import CITYSCAPES
from common.data.coco import COCO
from common.data.voc import VOC2012

CARDS = {card.name: card for card in (VOC2012, CITYSCAPES, COCO, ADE20K)}
