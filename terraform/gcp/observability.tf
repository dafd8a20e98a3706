# Logs, what they add up to, and who is told.

locals {
  service_logs = "resource.type=\"cloud_run_revision\" resource.labels.service_name=\"${var.name}\" resource.labels.location=\"${var.region}\""

  log_bucket = "projects/${var.account}/locations/${google_logging_project_bucket_config.logs.location}/buckets/${google_logging_project_bucket_config.logs.bucket_id}"

  service_metrics = "resource.type=\"cloud_run_revision\" resource.label.service_name=\"${var.name}\" resource.label.location=\"${var.region}\""
}

# The project's own log bucket keeps what it is told to keep for all; this one keeps the function's logs for so long.
resource "google_logging_project_bucket_config" "logs" {
  project        = var.account
  location       = var.region
  bucket_id      = var.name
  retention_days = var.log_retention_days
  description    = "Logs of ${var.name}."

  depends_on = [google_project_service.this]
}

resource "google_logging_project_sink" "logs" {
  name                   = var.name
  destination            = "logging.googleapis.com/${local.log_bucket}"
  filter                 = local.service_logs
  unique_writer_identity = true # inside of one project it needs no role
}

# Not twice, for twice the money. What is left out there is still counted by the metrics below.
resource "google_logging_project_exclusion" "default_bucket" {
  name        = var.name
  description = "These are in the log bucket ${var.name}."
  filter      = local.service_logs

  depends_on = [google_logging_project_sink.logs]
}

resource "google_logging_metric" "requests" {
  name        = "${var.name}/requests"
  description = "Requests by app, endpoint, model and outcome."
  filter      = "${local.service_logs} jsonPayload.event=\"request\""

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"

    dynamic "labels" {
      for_each = toset(["app", "endpoint", "model", "outcome"])
      content {
        key        = labels.key
        value_type = "STRING"
      }
    }
  }

  label_extractors = {
    for name in ["app", "endpoint", "model", "outcome"] : name => "EXTRACT(jsonPayload.${name})"
  }

  depends_on = [google_project_service.this]
}

resource "google_logging_metric" "duration" {
  name            = "${var.name}/duration"
  description     = "How long requests took, streams included, until the last byte."
  filter          = "${local.service_logs} jsonPayload.event=\"request\""
  value_extractor = "EXTRACT(jsonPayload.duration_ms)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"

    labels {
      key        = "endpoint"
      value_type = "STRING"
    }
  }

  bucket_options {
    exponential_buckets {
      num_finite_buckets = 24
      growth_factor      = 1.6
      scale              = 10
    }
  }

  label_extractors = {
    endpoint = "EXTRACT(jsonPayload.endpoint)"
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_notification_channel" "operator" {
  count = var.alarm_email == null ? 0 : 1

  display_name = "The operator of ${var.name}"
  type         = "email"

  labels = {
    email_address = var.alarm_email
  }

  depends_on = [google_project_service.this]
}

# Of Cloud Run's own metric, which is there before the first request.
resource "google_monitoring_alert_policy" "errors" {
  display_name          = "${var.name}: requests fail"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = google_monitoring_notification_channel.operator[*].id
  user_labels           = var.tags

  conditions {
    display_name = "More than five answers with a 5xx in a quarter of an hour"

    condition_threshold {
      filter          = "${local.service_metrics} metric.type=\"run.googleapis.com/request_count\" metric.label.response_code_class=\"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 5
      duration        = "0s"

      aggregations {
        alignment_period     = "900s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  depends_on = [google_project_service.this]
}

resource "google_monitoring_alert_policy" "at_cap" {
  display_name          = "${var.name}: all instances are in use"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = google_monitoring_notification_channel.operator[*].id
  user_labels           = var.tags

  conditions {
    display_name = "As many instances as max_instances allows, for ten minutes"

    condition_threshold {
      filter          = "${local.service_metrics} metric.type=\"run.googleapis.com/container/instance_count\" metric.label.state=\"active\""
      comparison      = "COMPARISON_GT"
      threshold_value = coalesce(var.max_instances, 100) - 1
      duration        = "600s"

      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  depends_on = [google_project_service.this]
}

locals {
  # Title, and what is drawn: [filter, aligner, what it is grouped by].
  charts = {
    "Answers by status" = [
      "${local.service_metrics} metric.type=\"run.googleapis.com/request_count\"", "ALIGN_RATE", "metric.label.response_code"
    ]
    "Requests by app" = [
      "${local.service_metrics} metric.type=\"logging.googleapis.com/user/${google_logging_metric.requests.name}\"", "ALIGN_RATE", "metric.label.app"
    ]
    "Requests by endpoint" = [
      "${local.service_metrics} metric.type=\"logging.googleapis.com/user/${google_logging_metric.requests.name}\"", "ALIGN_RATE", "metric.label.endpoint"
    ]
    "Duration in ms, 95th percentile" = [
      "${local.service_metrics} metric.type=\"logging.googleapis.com/user/${google_logging_metric.duration.name}\"", "ALIGN_PERCENTILE_95", "metric.label.endpoint"
    ]
    "Instances" = [
      "${local.service_metrics} metric.type=\"run.googleapis.com/container/instance_count\"", "ALIGN_MAX", "metric.label.state"
    ]
    "Start of an instance in ms, 95th percentile" = [
      "${local.service_metrics} metric.type=\"run.googleapis.com/container/startup_latencies\"", "ALIGN_PERCENTILE_95", "resource.label.service_name"
    ]
  }
}

resource "google_monitoring_dashboard" "this" {
  dashboard_json = jsonencode({
    displayName = var.name
    gridLayout = {
      columns = 2
      widgets = [
        for title, chart in local.charts : {
          title = title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter = chart[0]
                  aggregation = {
                    alignmentPeriod    = "300s"
                    perSeriesAligner   = chart[1]
                    crossSeriesReducer = startswith(chart[1], "ALIGN_PERCENTILE") ? "REDUCE_MAX" : "REDUCE_SUM"
                    groupByFields      = [chart[2]]
                  }
                }
              }
            }]
          }
        }
      ]
    }
  })

  depends_on = [google_project_service.this]
}
