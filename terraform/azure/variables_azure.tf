# What only Azure has.

variable "log_daily_quota_gb" {
  description = "How many GB of logs a day are taken in, so that a flood of requests is no flood of costs; what is more is lost. -1 for no limit."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.log_daily_quota_gb == -1 || var.log_daily_quota_gb > 0
    error_message = "Write a number of GB, or -1."
  }
}
