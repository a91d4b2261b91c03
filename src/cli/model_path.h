// Where a model named on the command line lies: as everywhere.
#pragma once

#include "io/embedded.h"
