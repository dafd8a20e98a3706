terraform {
  required_version = ">= 1.11, < 2.0" # write-only arguments came with 1.11

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.0, < 8.0"
    }
  }
}

provider "google" {
  project        = var.account
  region         = var.region
  default_labels = var.tags
}
