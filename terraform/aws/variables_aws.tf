variable "endpoint" {
  description = "Where an emulator of AWS answers, for tests; null for AWS itself."
  type        = string
  default     = null

  validation {
    condition     = var.endpoint == null || can(regex("^http://(127[.]0[.]0[.]1|localhost):[0-9]+$", var.endpoint))
    error_message = "Write the address of an emulator on this machine, such as http://127.0.0.1:5000."
  }
}
