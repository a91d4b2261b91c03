// An error whose HTTP status its code does not tell: 413 for what is too large, 429 for what comes too often.
#pragma once

#include <string>
#include <utility>

#include "base/error.h"

namespace tap::server {

class StatusError : public Error {
 public:
  StatusError(int http_status, ErrorCode code, std::string message, std::string item = {})
      : Error(code, std::move(message), std::move(item)), status_(http_status) {}
  int status() const { return status_; }

 private:
  int status_;
};

}  // namespace tap::server
