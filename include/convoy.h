/* Convoy trains and evaluates convolutional image classifiers on any OpenCL device, or on the host CPU. This
   header is all of the library's. What holds for all of its functions stands in convoy/status.h.

     convoy/device.h   what a machine has, and opening it
     convoy/model.h    networks and recipes from YAML files; weights
     convoy/data.h     images from files, from memory, from a function
     convoy/train.h    training, a loop of one's own, evaluation
     convoy/predict.h  answers for pictures of any size
     convoy/log.h      hearing what the library has to say

   Programs to copy from, complete and short, stand in tools/examples/, which are installed under
   share/doc/convoy/examples: train.c, own_data.c, own_loop.c, predict_pixels.c, stop_early.c, two_devices.c,
   train.cpp. tools/docs/embedding.md leads through them. */
#ifndef CONVOY_H
#define CONVOY_H

#include "convoy/data.h"
#include "convoy/device.h"
#include "convoy/log.h"
#include "convoy/model.h"
#include "convoy/predict.h"
#include "convoy/status.h"
#include "convoy/train.h"
#include "convoy/version.h"

#endif
